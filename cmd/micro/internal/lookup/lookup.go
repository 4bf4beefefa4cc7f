// Package lookup finds what a person meant by a name.
package lookup

import "strings"

// Endpoint returns the endpoint that name stands for among those of a service:
// the very name, else the only one that differs in case alone, else the only
// one whose part after the last dot is name in any case. When none or several
// fit it returns "" and those that fit.
func Endpoint(endpoints []string, name string) (string, []string) {
	for _, e := range endpoints {
		if e == name {
			return e, nil
		}
	}
	for _, fits := range []func(string) bool{
		func(e string) bool { return strings.EqualFold(e, name) },
		func(e string) bool { return strings.EqualFold(method(e), name) },
	} {
		var found []string
		for _, e := range endpoints {
			if fits(e) {
				found = append(found, e)
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return "", found
		}
	}
	return "", nil
}

// method is the part of an endpoint's name after the last dot.
func method(endpoint string) string {
	return endpoint[strings.LastIndexByte(endpoint, '.')+1:]
}

// maxName bounds the names that are compared: the work grows with their
// product.
const maxName = 128

// Nearest returns the one of names that name was most likely meant to be, ""
// when none is near: more than a third of it would have to change. The part of names after the last dot is compared too.
func Nearest(name string, names []string) string {
	if name == "" || len(name) > maxName {
		return ""
	}
	best, nearest := max(2, len(name)/3+1), ""
	for _, n := range names {
		if len(n) > maxName {
			continue
		}
		for _, candidate := range []string{n, method(n)} {
			d := distance(strings.ToLower(name), strings.ToLower(candidate))
			if d < best && d < len(candidate) {
				best, nearest = d, n
			}
		}
	}
	return nearest
}

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours that turn a into b. (Optimal string alignment, after Damerau, "A
// technique for computer detection and correction of spelling errors", 1964.)
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before := make([]int, len(t)+1)
	above := make([]int, len(t)+1)
	row := make([]int, len(t)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(s); i++ {
		row[0] = i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(t)]
}

// shown is how many names a list of what there is holds.
const shown = 12

// List joins names for a message, and says how many it leaves out.
func List(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:shown], ", ") + ", ..."
}
