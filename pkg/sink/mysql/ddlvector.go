package mysql

import "strings"

// withoutVectors turns VECTOR columns of a statement into LONGTEXT, for
// databases that do not know the type. The statement is in the normal form of
// DDL events: the type stands behind the column's quoted name.
func withoutVectors(query string) string {
	const word = "VECTOR"
	var out strings.Builder
	done := 0         // how much of the query is in out
	last := byte(' ') // the last character that is no blank
	for i := 0; i < len(query); {
		c := query[i]
		switch {
		case c == '\'' || c == '"' || c == '`':
			i = endOfQuote(query, i)
			last = c
			continue
		case last == '`' && len(query)-i >= len(word) && strings.EqualFold(query[i:i+len(word)], word) && !isWordByte(query, i+len(word)):
			out.WriteString(query[done:i])
			out.WriteString("LONGTEXT")
			i += len(word)
			if size := strings.IndexByte(query[i:], ')'); size > 0 && query[i] == '(' {
				i += size + 1
			}
			done, last = i, ' '
			continue
		case c != ' ':
			last = c
		}
		i++
	}
	return out.String() + query[done:]
}

// endOfQuote returns the position behind the quoted piece that starts at i. A
// doubled quote reads as two pieces side by side, which is as good.
func endOfQuote(s string, i int) int {
	quote := s[i]
	for i++; i < len(s) && s[i] != quote; i++ {
		if s[i] == '\\' && quote != '`' {
			i++
		}
	}
	return min(i+1, len(s))
}

// isWordByte tells whether a word goes on at i.
func isWordByte(s string, i int) bool {
	if i >= len(s) {
		return false
	}
	c := s[i]
	return c == '_' || c == '$' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}
