package clustercfg

import (
	"fmt"
	"strings"
	"time"

	"github.com/zeekrec/zeekrec/desired"
)

func archiveSetters(a *desired.ArchiveSettings) setters {
	return setters{
		"enabled":  into(&a.Enabled, yesNo),
		"dir":      into(&a.Dir, absolutePath),
		"layout":   into(&a.Layout, layout),
		"interval": into(&a.Interval, span(time.Second)),
		"compress": into(&a.Compress, choice("gzip", "zstd", "none")),
		"keep":     into(&a.Keep, span(time.Hour)),
		"min_free": into(&a.MinFree, share),
		"command":  into(&a.Command, verbatim),
		"timezone": into(&a.Timezone, choice("local", "UTC")),
		"parallel": into(&a.Parallel, number(1, 64)),
		"rate":     into(&a.Rate, size),
	}
}

// layout accepts a template of folders that ends in the day's.
func layout(s string) (string, error) {
	bad := func(format string, args ...any) (string, error) {
		return "", complain("write folders that end in {day}, with {cluster} and {instance} where they are to be apart: {cluster}/{day}, or {day} as zeek-archiver has it",
			format, args...)
	}
	parts := strings.Split(s, "/")
	if parts[len(parts)-1] != "{day}" {
		return bad("%s does not end in {day}", quote(s))
	}
	for _, p := range parts[:len(parts)-1] {
		plain := strings.NewReplacer("{cluster}", "c", "{instance}", "i").Replace(p)
		if why := unfit(plain); why != "" || strings.ContainsAny(plain, "{}") {
			return bad("%s: %s cannot be a folder here", quote(s), quote(p))
		}
	}
	return s, nil
}

// archive checks [zeekrec.archive] against the rest of the file.
func (p *parser) archive(c *desired.Cluster) {
	a := &c.Settings.Archive
	ignored := func(why, hint string, keys ...string) {
		for _, key := range keys {
			if line, stated := p.ownLine("archive", key); stated {
				p.rep.warn(line, "ignored-key", key+" has no effect "+why, hint)
			}
		}
	}
	if !a.Enabled {
		line, _ := p.ownLine("archive", "enabled")
		p.rep.info(line, "archive", "with enabled = no nothing takes rotated logs out of the queues: they stay on the loggers' disks", "")
		ignored("with enabled = no", "remove it, or write enabled = yes", "dir", "layout", "compress", "keep", "min_free", "command", "parallel", "rate")
		return
	}
	if a.Command != "" {
		ignored("with a command of your own: that archives, and zeekrec deletes nothing that it did not archive itself",
			"remove one of the two", "compress", "keep", "min_free", "parallel", "rate")
	}
	if line, stated := p.ownLine("archive", "keep"); stated && a.Keep > 0 && a.Keep < 24*time.Hour {
		p.rep.info(line, "archive", "logs are deleted by days: what is kept for less than one is deleted when its day has been over for that long", "")
	}
}

// archiveClaims are the folders that a cluster's logs are archived into, by instance.
func archiveClaims(c *desired.Cluster) map[string]string {
	a := &c.Settings.Archive
	if !a.Enabled {
		return nil
	}
	out := map[string]string{}
	for _, instance := range c.ArchiverInstances() {
		out[instance] = desired.ArchiveRoot(a.Dir, a.Layout, c.Name, instance)
	}
	return out
}

// archiveInto collects the folders that clusters archive into.
func (a *across) archiveInto(c *desired.Cluster) {
	line := c.Settings.Archive.Line
	for instance, root := range archiveClaims(c) {
		at := device{instance, root}
		a.archives[at] = append(a.archives[at], claim{c, line, ""})
	}
}

// reportArchives says of clusters that archive into the same folders that their logs would mix.
func (a *across) reportArchives(reps map[*desired.Cluster]*report) {
	said := map[*desired.Cluster]bool{}
	for at, claims := range a.archives {
		for _, p := range pairs(claims) {
			if said[p.mine.cluster] {
				continue
			}
			said[p.mine.cluster] = true
			root := at.name
			if root == "" || root == "." {
				root = "the default folder"
			}
			reps[p.mine.cluster].error(p.mine.line, "archive-in-two-clusters",
				fmt.Sprintf("the logs of this cluster and of %s would mix: both are archived into %s on instance '%s'", where(p.other), root, at.instance),
				"write layout = {cluster}/{day}, or give each a dir of its own")
		}
	}
}
