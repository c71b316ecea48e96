// Package configdoc is the table of everything a changefeed can be told: the
// names in files and in the API and the defaults come from the structs that
// are decoded, what they mean from one list. docs/configuration.md is made of it.
package configdoc

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	v2 "github.com/tidemark/tidemark/api/v2"
	"github.com/tidemark/tidemark/pkg/config"
)

// Field is one setting.
type Field struct {
	TOML    string // path in a --config file
	JSON    string // path in the API's replica_config; empty: not there
	Type    string
	Default string // "unset" when there is none
}

// Fields lists every setting in the order of the structs.
func Fields() []Field {
	w := walker{}
	w.object(reflect.ValueOf(config.DefaultReplicaConfig()), reflect.TypeFor[v2.ReplicaConfig](), "", "", false)
	return w.fields
}

type walker struct{ fields []Field }

// object lists the settings of a struct, which may be unset. Settings of list
// elements have no defaults.
func (w *walker) object(v reflect.Value, api reflect.Type, toml, json string, inList bool) {
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
		if v = v.Elem(); !v.IsValid() {
			v = reflect.Zero(t)
		}
	}
	for i := range t.NumField() {
		f := t.Field(i)
		partner, known := fieldOf(api, f.Name)
		if f.Anonymous {
			w.object(v.Field(i), partner.Type, toml, json, inList)
			continue
		}
		path, apiPath := toml+keyOf(f, "toml"), ""
		if known && (json != "" || toml == "") {
			apiPath = json + keyOf(partner, "json")
		}
		w.setting(v.Field(i), partner.Type, path, apiPath, inList)
	}
}

func (w *walker) setting(v reflect.Value, api reflect.Type, toml, json string, inList bool) {
	t := v.Type()
	element := t
	for element.Kind() == reflect.Pointer || element.Kind() == reflect.Slice {
		element = element.Elem()
	}
	if element.Kind() != reflect.Struct {
		w.fields = append(w.fields, Field{TOML: toml, JSON: json, Type: typeName(t), Default: defaultText(v, inList)})
		return
	}
	for api != nil && (api.Kind() == reflect.Pointer || api.Kind() == reflect.Slice) {
		api = api.Elem()
	}
	list := t.Kind() == reflect.Slice
	if list {
		v, toml, json = reflect.Zero(element), toml+"[]", json+"[]"
	}
	w.object(v, api, toml+".", json+".", inList || list)
}

func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	if t == nil || t.Kind() != reflect.Struct {
		return reflect.StructField{}, false
	}
	return t.FieldByName(name)
}

func keyOf(f reflect.StructField, notation string) string {
	name, _, _ := strings.Cut(f.Tag.Get(notation), ",")
	return name
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Slice:
		return "list of " + typeName(t.Elem())
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "string"
	}
	if t == reflect.TypeFor[time.Duration]() {
		return "duration"
	}
	return t.Kind().String()
}

// defaultText writes a default as a TOML file would.
func defaultText(v reflect.Value, inList bool) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "unset"
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		text := x.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		return "`" + text + "`"
	case []string:
		if len(x) > 0 {
			return fmt.Sprintf("`['%s']`", strings.Join(x, "', '"))
		}
	}
	switch {
	case inList:
		return ""
	case v.Kind() == reflect.Slice:
		return "`[]`"
	case v.Kind() == reflect.String && v.Len() == 0:
		return `""`
	case v.Kind() == reflect.String:
		return fmt.Sprintf("`%s`", strings.NewReplacer("\r", `\r`, "\n", `\n`).Replace(v.String()))
	}
	return fmt.Sprintf("`%v`", v.Interface())
}
