package installed

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"session-manager/supervisor/internal/smallfile"
)

// identity is what a process of the service runs as.
type identity struct {
	name     string
	uid, gid int
	groups   []int
	umask    int
	home     string
}

// usualUmask is systemd's (systemd.exec(5), UMask=).
const usualUmask = 0o022

// identity looks up the service's user; nil means that it runs as root.
func (s *Service) identity() (*identity, error) {
	name, err := s.last("User")
	if err != nil || name == "" || name == "root" {
		return nil, err
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("cannot find the user of %s: %w", s.Name, err)
		}
	}
	id := &identity{name: u.Username, umask: usualUmask, home: u.HomeDir}
	group, groupErr := s.last("Group")
	gid, lookupErr := groupID(cmp.Or(group, u.Gid))
	uid, uidErr := strconv.Atoi(u.Uid)
	id.uid, id.gid = uid, gid
	members, memberErr := u.GroupIds()
	further, furtherErr := s.words("SupplementaryGroups")
	err = errors.Join(groupErr, lookupErr, uidErr, memberErr, furtherErr)
	for _, name := range append(members, further...) {
		n, lookupErr := groupID(name)
		err = errors.Join(err, lookupErr)
		id.groups = append(id.groups, n)
	}
	if mask, maskErr := s.last("UMask"); mask != "" || maskErr != nil {
		n, parseErr := strconv.ParseUint(mask, 8, 9)
		id.umask, err = int(n), errors.Join(err, maskErr, parseErr)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot act as the user of %s: %w", s.Name, err)
	}
	slices.Sort(id.groups)
	id.groups = slices.Compact(id.groups)
	return id, nil
}

func groupID(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

// Become makes this process one of the service's user, irrevocably: with its groups, umask
// and environment, and without privileges. Only root can; another user gets
// the environment alone. It returns the name of the user as whom the process runs now. After
// an error the process must end, and nothing else was touched.
func (s *Service) Become() (name string, err error) {
	id, err := s.identity()
	if err != nil && os.Geteuid() == 0 {
		return "", err
	}
	name = ownName()
	if os.Geteuid() == 0 && id != nil {
		if err := id.assume(); err != nil {
			return "", fmt.Errorf("cannot act as user %s: %w", id.name, err)
		}
		name = id.name
	}
	environ := s.environment(os.Environ(), id)
	os.Clearenv()
	for _, e := range environ {
		variable, value, _ := strings.Cut(e, "=")
		err = errors.Join(err, os.Setenv(variable, value))
	}
	return name, err
}

// usualPath is systemd's PATH (systemd.exec(5)).
const usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

// keptVariables are those of a command that stay: its settings begin with ours, and the
// others are about the person at the terminal. Proxies, the PATH and folders for temporary files
// are those of the service.
var keptVariables = regexp.MustCompile(`^(SESSION_MANAGER_.*|TERM|LANG|LC_.*|TZ)=`)

// environment returns the one of a command that was given in current.
func (s *Service) environment(current []string, id *identity) []string {
	environ := []string{"PATH=" + usualPath}
	if id != nil {
		environ = append(environ, "HOME="+id.home, "USER="+id.name, "LOGNAME="+id.name)
	}
	for _, v := range s.Environ {
		if !strings.HasPrefix(v.Name, "SESSION_MANAGER_") { // those are settings, with a name of their own
			environ = append(environ, v.Name+"="+v.Value)
		}
	}
	for _, e := range current {
		if keptVariables.MatchString(e) {
			environ = append(environ, e)
		}
	}
	return environ
}

// User returns the name of the service's user, as the unit has it; empty for root.
func (s *Service) User() string {
	name, _ := s.last("User")
	return name
}

func ownName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Geteuid())
}

// assume changes the identity of every thread, and makes sure that nothing is left of the
// one before.
func (id *identity) assume() error {
	if err := forgetEnvironment(); err != nil {
		return fmt.Errorf("cannot hide root's environment: %w", err)
	}
	if err := syscall.Setgroups(id.groups); err != nil {
		return fmt.Errorf("cannot set groups: %w", err)
	}
	if err := syscall.Setresgid(id.gid, id.gid, id.gid); err != nil {
		return fmt.Errorf("cannot set group: %w", err)
	}
	if err := syscall.Setresuid(id.uid, id.uid, id.uid); err != nil {
		return fmt.Errorf("cannot set user: %w", err)
	}
	if err := id.check(); err != nil {
		return err
	}
	syscall.Umask(id.umask)
	// A process that was root's may not look at itself in /proc otherwise (PR_SET_DUMPABLE(2const)).
	return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
}

// forgetEnvironment erases what this process was started with: to every process of its
// new user /proc would show root's environment (proc_pid_environ(5)).
func forgetEnvironment() error {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err
	}
	// Fields are counted from the third, as the second may have spaces (proc_pid_stat(5)).
	const envStart, envEnd = 50 - 3, 51 - 3
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= envEnd {
		return errors.New("/proc/self/stat has too few fields")
	}
	start, startErr := strconv.ParseInt(fields[envStart], 10, 64)
	end, endErr := strconv.ParseInt(fields[envEnd], 10, 64)
	if err := errors.Join(startErr, endErr); err != nil {
		return err
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = memory.WriteAt(make([]byte, max(end-start, 0)), start)
	return errors.Join(err, memory.Close())
}

var errPrivileged = errors.New("privileges are left")

func (id *identity) check() error {
	groups, err := syscall.Getgroups()
	slices.Sort(groups)
	ruid, euid, suid := unix.Getresuid()
	rgid, egid, sgid := unix.Getresgid()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var capabilities [2]unix.CapUserData
	err = errors.Join(err, unix.Capget(&header, &capabilities[0]))
	switch {
	case err != nil:
		return err
	case ruid != id.uid, euid != id.uid, suid != id.uid, rgid != id.gid, egid != id.gid, sgid != id.gid,
		!slices.Equal(groups, id.groups), capabilities[0].Effective|capabilities[0].Permitted|capabilities[1].Effective|capabilities[1].Permitted != 0:
		return errPrivileged
	}
	return nil
}

// OpenCredentials reads the credentials, as systemd does for the service, into files that only
// this process and the service's user can open, and returns their paths by their names. One
// that does not exist is left out.
func (s *Service) OpenCredentials() (map[string]string, error) {
	opened := map[string]string{}
	if os.Geteuid() != 0 {
		return opened, nil // only root can read them
	}
	id, err := s.identity()
	if err != nil {
		return nil, err
	}
	for name, path := range s.Credentials {
		content, err := smallfile.Read(path, smallfile.Max)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read credential: %w", err)
		}
		// It stays open until the process ends.
		fd, err := unix.MemfdCreate(filepath.Base(path), unix.MFD_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("cannot keep credential: %w", err)
		}
		f := os.NewFile(uintptr(fd), path)
		_, err = f.Write(content)
		if id != nil {
			err = errors.Join(err, f.Chown(id.uid, id.gid))
		}
		if err := errors.Join(err, f.Chmod(0o400)); err != nil {
			return nil, fmt.Errorf("cannot keep credential: %w", err)
		}
		kept = append(kept, f)
		opened[name] = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	return opened, nil
}

// kept are the files of credentials: without a reference they would be closed.
var kept []*os.File
