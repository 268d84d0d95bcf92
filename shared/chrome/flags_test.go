package chrome

import "testing"

func TestCheckArgRefusesWhatBreaksTheContract(t *testing.T) {
	for _, arg := range []string{
		"", "-", "--", "url", "--=x", "--headless", "-headless=old", "--headless=new", "--no-headless",
		"--remote-debugging-port=9222", "--remote-debugging-pipe", "--remote-debugging-address=::",
		"--user-data-dir=/x", "--profile-directory=x", "--incognito", "--guest", "--user-agent=x", "--type=gpu",
		"--app=x", "--enable-automation", "--version", "--screen-info=x", "--no-zygote", "--a\x00b", "--incognito ", "---incognito",
	} {
		if err := CheckArg(arg); err == nil {
			t.Errorf("%q is taken", arg)
		}
	}
	for _, arg := range []string{"--proxy-server=http://p:1", "--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"} {
		if err := CheckArg(arg); err != nil {
			t.Errorf("%q: %v", arg, err)
		}
	}
}
