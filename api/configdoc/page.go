package configdoc

import (
	_ "embed"
	"fmt"
	"strings"
)

// meanings has one line per setting: path in files | values | meaning | tests,
// which are named by folder, function and, after a slash, case.
//
//go:embed meanings.txt
var meanings string

// parameters has one line per setting that the sink URI has too: path in files
// | parameter.
//
//go:embed parameters.txt
var parameters string

// loadParameters returns the parameters of the URI by path in files.
func loadParameters() (map[string]string, error) {
	out := map[string]string{}
	for i, line := range strings.Split(strings.TrimSuffix(parameters, "\n"), "\n") {
		path, name, ok := strings.Cut(line, " | ")
		if _, twice := out[path]; !ok || twice {
			return nil, fmt.Errorf("parameters.txt, line %d: %q", i+1, line)
		}
		out[path] = name
	}
	return out, nil
}

// meaning is what the structs do not say of a setting.
type meaning struct {
	values, text string
	tests        []string // in which changing it changes what happens
}

// loadMeanings returns the list by path.
func loadMeanings() (map[string]meaning, error) {
	out := map[string]meaning{}
	for i, line := range strings.Split(strings.TrimSuffix(meanings, "\n"), "\n") {
		part := strings.Split(line, "|")
		if len(part) != 4 {
			return nil, fmt.Errorf("meanings.txt, line %d: %d parts instead of 4", i+1, len(part))
		}
		for j := range part {
			part[j] = strings.TrimSpace(part[j])
		}
		if _, twice := out[part[0]]; twice {
			return nil, fmt.Errorf("meanings.txt, line %d: %s is there twice", i+1, part[0])
		}
		out[part[0]] = meaning{values: part[1], text: part[2], tests: strings.Fields(part[3])}
	}
	return out, nil
}

const head = `# Configuration of a changefeed

<!-- Made by go test ./api/configdoc -update; do not edit. -->

The file of ` + "`--config`" + ` is TOML with the names of the first column; a name that is not here is an error. The API takes ` + "`replica_config`" + ` with the names of the second column and ignores others. The third column has the parameters of the sink URI; others are ignored. Durations are texts such as ` + "`\"10m\"`" + `; the API also takes integers, which are nanoseconds, and always answers with these.

"unset" means that the parameter of the sink URI counts, and without one the default of the sink. Wherever a setting can be given in both, the URI wins.

Settings *to come* belong to the sinks for files and for Pulsar and to the redo log, which this version does not have: they are read, checked and kept, and a changefeed that needs one of these is refused.

The last column names the test in which changing the setting changes what happens, by its folder, its function and, after a slash, the case of it.
`

const tail = `
## Words of ignore-event

` + "`all dml`, `insert`, `update`, `delete`" + `

` + "`all ddl`; `create schema` or `create database`, `drop schema` or `drop database`, `modify schema charset and collate`; `create table`, `drop table`, `truncate table`, `recover table`; `create view`, `drop view`" + `

` + "`alter table`" + `, which stands for: ` + "`rename table`, `modify table comment`, `modify table charset and collate`, `add table partition`, `drop table partition`, `truncate table partition`, `exchange table partition`, `reorganize table partition`, `alter table partitioning`, `remove table partitioning`, `add column`, `drop column`, `modify column`, `set default value`, `rebase auto id`, `add primary key`, `drop primary key`, `create index`, `drop index`, `rename index`, `alter index visibility`, `alter ttl info`, `alter ttl remove`, `multi schema change`" + `

A statement that is left out still counts for the tables that are replicated: rows of a table whose ` + "`create table`" + ` was left out are sent.

## Only in the sink URI

` + "`has-vector-type`" + ` (MySQL sinks; bool, default false): columns of type VECTOR are made LONGTEXT in statements for a downstream that is not TiDB, or is one before 8.4 (pkg/sink/mysql.TestHasVectorType).
`

// Page writes docs/configuration.md.
func Page() (string, error) {
	known, err := loadMeanings()
	if err != nil {
		return "", err
	}
	uri, err := loadParameters()
	if err != nil {
		return "", err
	}
	var order []string
	sections := map[string]*strings.Builder{}
	for _, f := range Fields() {
		m, ok := known[f.TOML]
		if !ok {
			return "", fmt.Errorf("meanings.txt says nothing about %s", f.TOML)
		}
		delete(known, f.TOML)
		name := parent(f.TOML)
		b := sections[name]
		if b == nil {
			b = &strings.Builder{}
			b.WriteString(heading(f))
			sections[name], order = b, append(order, name)
		}
		json := "–"
		if f.JSON != "" {
			json = "`" + strings.TrimPrefix(f.JSON, parent(f.JSON)+".") + "`"
		}
		parameter := ""
		if p, ok := uri[f.TOML]; ok {
			parameter = "`" + p + "`"
			delete(uri, f.TOML)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s | %s | %s | %s |\n",
			strings.TrimPrefix(f.TOML, name+"."), json, parameter, f.Type, f.Default, m.values, m.text, strings.Join(m.tests, "<br>"))
	}
	for path := range known {
		return "", fmt.Errorf("meanings.txt has %s, which is no setting", path)
	}
	for path := range uri {
		return "", fmt.Errorf("parameters.txt has %s, which is no setting", path)
	}
	var page strings.Builder
	page.WriteString(head)
	for _, name := range order {
		page.WriteString(sections[name].String())
	}
	page.WriteString(tail)
	return page.String(), nil
}

// parent is the path of the section that a setting is in.
func parent(path string) string {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i]
	}
	return ""
}

func heading(f Field) string {
	title := "Top level"
	if s := parent(f.TOML); s != "" {
		file := "[" + s + "]"
		if list, ok := strings.CutSuffix(s, "[]"); ok {
			file = "[[" + list + "]]"
		}
		title = "`" + file + "`"
		if j := parent(f.JSON); j != "" {
			title += ", `" + j + "`"
		}
	}
	return "\n## " + title + "\n\n| File | API | URI | Type | Default | Values | Meaning | Test |\n|---|---|---|---|---|---|---|---|\n"
}
