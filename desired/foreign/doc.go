// Package foreign makes a cluster.cfg of what other managers of Zeek read, zeekctl's node.cfg with zeekctl.cfg and
// networks.cfg, and the zeek.conf of Zeek's systemd generator, and a zeek.conf of a cluster.
//
//	node.cfg, zeekctl.cfg, networks.cfg ─► Zeekctl  ─┐
//	zeek.conf of each host              ─► ZeekConf ─┴► Imported: the text, and notes
//	desired.Cluster ─► ExportZeekConf ─► zeek.conf, and notes
//
// Nodes get the names, interfaces, environments, CPUs and ports that the original would give them. A worker section with
// lb_procs stays one where that gives the same ports; otherwise each worker gets a section.
//
// Invariants: pure, bytes in and bytes out; nothing is dropped in silence: what has no counterpart is a note, and each note is a
// comment in the text, too.
package foreign
