package profile

import (
	"errors"
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

// cacheLimit is the size in bytes beyond which a cache is removed before the next
// start. Chrome's flags bound the HTTP cache to 100 MB, and no other cache.
const cacheLimit = 160 << 20

func isCache(rel string) bool {
	return slices.ContainsFunc(caches, func(pattern string) bool {
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

// PruneCaches removes the caches of the profile that have grown too large, and the
// metrics that a killed Chrome left behind. Chrome must not run.
func (p *Profile) PruneCaches() ([]Pruned, error) {
	var pruned []Pruned
	var failed []error
	for _, pattern := range caches {
		found, err := fs.Glob(os.DirFS(p.Dir()), pattern)
		if err != nil {
			failed = append(failed, err)
		}
		for _, rel := range found {
			folder := filepath.Join(p.Dir(), rel)
			size, err := sizeOf(folder)
			if err == nil && (size > cacheLimit || strings.HasSuffix(folder, "BrowserMetrics") && size > 0) {
				err = os.RemoveAll(folder)
				pruned = append(pruned, Pruned{rel, size})
			}
			failed = append(failed, err)
		}
	}
	return pruned, errors.Join(failed...)
}

// sizeOf adds up the sizes of the regular files below folder.
func sizeOf(folder string) (int64, error) {
	var size int64
	err := filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
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
