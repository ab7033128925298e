package logname

import (
	"fmt"
	"strings"
)

// Layout translates a format of strptime(3) into one of package time. It knows the numeric conversions; any other is an
// error that names them.
func Layout(format string) (string, error) {
	known := map[byte]string{
		'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'y': "06", 'F': "2006-01-02", 'T': "15:04:05",
		'D': "01/02/06", 'R': "15:04", 'b': "Jan", 'j': "002", '%': "%",
	}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' && c != 'T' {
			return "", fmt.Errorf("cannot use the time format %q: besides conversions it may have punctuation and the letter T", format)
		}
		if c != '%' {
			b.WriteByte(c)
			continue
		}
		if i++; i == len(format) {
			return "", fmt.Errorf("cannot use the time format %q: it ends with %%", format)
		}
		text, ok := known[format[i]]
		if !ok {
			return "", fmt.Errorf("cannot use the time format %q: %%%c is none of %%Y %%m %%d %%H %%M %%S %%y %%F %%T %%D %%R %%b %%j %%%%", format, format[i])
		}
		b.WriteString(text)
	}
	return b.String(), nil
}
