package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// caches are folders of a profile that Chrome refills, by their path in it; a star
// stands for one name. Backups leave them out. CacheStorage is not a cache: WhatsApp's
// page keeps preferences there.
var caches = []string{
	"*/Cache", "*/Code Cache", "*/GPUCache", "*/DawnCache", "*/DawnGraphiteCache", "*/DawnWebGPUCache",
	"*/blob_storage", "*/VideoDecodeStats", "*/optimization_guide_hint_cache_store",
	"ShaderCache", "GrShaderCache", "GraphiteDawnCache", "component_crx_cache", "extensions_crx_cache",
	"BrowserMetrics", "DeferredBrowserMetrics", "Crashpad", "Crash Reports", "Safe Browsing",
	"OptGuideOnDeviceModel", "optimization_guide_model_store", "WidevineCdm", "Webstore Downloads",
}

// records are what Chrome notes of the pages that it has shown. A page can make it note
// several addresses a second, each of up to 2 MB: 8 MB a second were seen. Unlike caches
// they are in backups, since their folders have always been.
var records = []string{"*/History*", "*/Favicons*", "*/Sessions", "*/Shared Dictionary", "segmentation_platform"}

// cacheLimit is the size in bytes beyond which a cache or record is removed before the next
// start. Chrome's flags bound the HTTP cache to 100 MB, and nothing else.
const cacheLimit = 160 << 20

// lostAndFound is what a file system has at its root, for itself.
const lostAndFound = "lost+found"

// isCache reports whether a path in the profile is a cache, or nothing of Chrome's.
func isCache(rel string) bool {
	return rel == lostAndFound || matches(caches, rel)
}

func matches(patterns []string, rel string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, rel)
		return err == nil && ok
	})
}

// Pruned is a cache that was removed.
type Pruned struct {
	// Path relative to the profile.
	Path  string
	Bytes int64
}

// PruneCaches removes the caches and records of the profile that have grown too large, and
// the metrics that a killed Chrome left behind. Chrome must not run.
func (p *Profile) PruneCaches() (pruned []Pruned, err error) {
	err = p.measure(func(rel string, size int64) error {
		if size <= cacheLimit && (size == 0 || !strings.HasSuffix(rel, "BrowserMetrics")) {
			return nil
		}
		pruned = append(pruned, Pruned{rel, size})
		return os.RemoveAll(filepath.Join(p.Dir(), rel))
	})
	return pruned, err
}

// CheckCaches returns an error when a cache or record is so large that Chrome should be
// restarted without it. Chrome may run.
func (p *Profile) CheckCaches() (over error) {
	_ = p.measure(func(rel string, size int64) error {
		if size > 2*cacheLimit {
			over = fmt.Errorf("%s in the profile holds more than %d MiB", rel, 2*cacheLimit>>20)
		}
		return nil
	})
	return over
}

// measure calls use with each cache and record, by its path in the profile, and its size
// in bytes.
func (p *Profile) measure(use func(rel string, size int64) error) error {
	var failed []error
	for _, rel := range refilled(p.Dir()) {
		size, err := sizeOf(filepath.Join(p.Dir(), rel))
		if err == nil {
			err = use(rel, size)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// refilled returns the caches and records that there are, by their paths in the profile. It
// reads each folder once, where fs.Glob would read all of them for every pattern.
func refilled(profile string) (found []string) {
	add := func(rel string) {
		if matches(caches, rel) || matches(records, rel) {
			found = append(found, rel)
		}
	}
	top, _ := os.ReadDir(profile) // what can't be read is not there, as for fs.Glob
	for _, folder := range top {
		add(folder.Name())
		dir := filepath.Join(profile, folder.Name())
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		below, _ := os.ReadDir(dir)
		for _, entry := range below {
			add(folder.Name() + "/" + entry.Name())
		}
	}
	return found
}

// sizeOf adds up the sizes of the regular files below path, of which some may vanish
// meanwhile.
func sizeOf(path string) (int64, error) {
	var size int64
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return size, err
}
