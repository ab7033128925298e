// Package logname reads and makes the names of Zeek's logs: of rotated ones, as Zeek's archiver_rotation_format_func
// writes and zeek-archiver reads them, of archived ones, and of those that a logger has left in its folder.
//
//	conn__2026-01-01-10-00-00__2026-01-01-11-00-00__log_suffix=logger-1__.log     rotated
//	2026-01-01/conn.10:00:00-11:00:00-logger-1.log.gz                             archived
//
// It is pure: names go in and out, and nothing is opened. Times in names are wall-clock times of the logger; they are
// kept as such, in UTC, and never converted, so that what was written in one time zone is filed under the same
// digits in any other.
//
//	r, err := logname.Zeek.Parse("conn__2026-01-01-10-00-00__2026-01-01-11-00-00__.log")
//	filepath.Join(r.Day(), r.Archived())   // 2026-01-01/conn.10:00:00-11:00:00.log
package logname
