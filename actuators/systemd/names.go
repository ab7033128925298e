package systemd

import (
	"strings"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/zeekrec/zeekrec/actuators/group"
	"github.com/zeekrec/zeekrec/desired"
)

// topSlice is above everything that zeekrec makes.
const topSlice = "zeek.slice"

// ScopeName of a group: zeek-dmz-worker.scope.
func ScopeName(n group.Name) string { return stem(n) + ".scope" }

// SliceName of a group: zeek-dmz-worker.slice, which systemd takes to be below zeek-dmz.slice and zeek.slice.
func SliceName(n group.Name) string { return stem(n) + ".slice" }

// ServiceName of a node: zeek-dmz-worker\x2d01.service.
func ServiceName(cluster, node string) string {
	return "zeek-" + unit.UnitNameEscape(cluster) + "-" + unit.UnitNameEscape(node) + ".service"
}

func stem(n group.Name) string {
	return "zeek-" + unit.UnitNameEscape(n.Cluster) + "-" + unit.UnitNameEscape(string(n.Role))
}

// describe a group, as systemctl shows it.
func describe(n group.Name) string {
	role := string(n.Role)
	if n.Role != desired.RoleManager && n.Role != desired.RoleBroker && n.Role != desired.RoleArchiver {
		role = strings.TrimSuffix(role, "y") + map[bool]string{true: "ies", false: "s"}[strings.HasSuffix(role, "y")]
	}
	return "Zeek " + role + " of cluster " + n.Cluster
}
