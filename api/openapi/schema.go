package openapi

import (
	"reflect"
	"strings"
	"time"
	"unicode"
)

// Schema describes a JSON value.
type Schema struct {
	Ref                  string             `json:"$ref,omitempty"`
	Type                 string             `json:"type,omitempty"`
	Format               string             `json:"format,omitempty"`
	Description          string             `json:"description,omitempty"`
	Nullable             bool               `json:"nullable,omitempty"`
	Items                *Schema            `json:"items,omitempty"`
	Properties           map[string]*Schema `json:"properties,omitempty"`
	AdditionalProperties *Schema            `json:"additionalProperties,omitempty"`
	AllOf                []*Schema          `json:"allOf,omitempty"`
	OneOf                []*Schema          `json:"oneOf,omitempty"`
}

// Describer is a type that says itself what it looks like in JSON.
type Describer interface {
	// JSONSchema is called on the zero value.
	JSONSchema() Schema
}

func (d *Document) schemaOf(v any) *Schema { return d.schema(reflect.TypeOf(v)) }

func (d *Document) schema(t reflect.Type) *Schema {
	if t.Kind() == reflect.Pointer {
		return nullable(d.schema(t.Elem()))
	}
	if describer, ok := reflect.Zero(t).Interface().(Describer); ok {
		s := describer.JSONSchema()
		return &s
	}
	if t == reflect.TypeFor[time.Time]() {
		return &Schema{Type: "string", Format: "date-time"}
	}
	if t == reflect.TypeFor[time.Duration]() {
		return &Schema{Type: "integer", Format: "int64", Description: "nanoseconds"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return &Schema{Type: "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64:
		return &Schema{Type: "integer", Format: "int64"}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return &Schema{Type: "integer", Format: "int32"}
	case reflect.Float32, reflect.Float64:
		return &Schema{Type: "number"}
	case reflect.Slice, reflect.Array:
		return &Schema{Type: "array", Items: d.schema(t.Elem())}
	case reflect.Map:
		return &Schema{Type: "object", AdditionalProperties: d.schema(t.Elem())}
	case reflect.Struct:
		return d.structRef(t)
	case reflect.String:
		return &Schema{Type: "string"}
	default: // an interface can be anything
		return &Schema{}
	}
}

// nullable says that null may stand for the value, too.
func nullable(s *Schema) *Schema {
	if s.Ref != "" { // nothing may stand beside a reference
		return &Schema{AllOf: []*Schema{s}, Nullable: true}
	}
	s.Nullable = true
	return s
}

// structRef describes a struct once, under the name of its type.
func (d *Document) structRef(t reflect.Type) *Schema {
	name := typeName(t)
	if name == "" {
		return d.properties(t)
	}
	if _, known := d.Components.Schemas[name]; !known {
		d.Components.Schemas[name] = nil // a type may contain itself
		d.Components.Schemas[name] = d.properties(t)
	}
	return &Schema{Ref: "#/components/schemas/" + name}
}

// typeName is "package.Type"; a list of T is "package.ListOfT". Types without
// a name have none.
func typeName(t reflect.Type) string {
	name := t.Name()
	if name == "" {
		return ""
	}
	if generic, argument, ok := strings.Cut(name, "["); ok {
		argument = strings.TrimSuffix(argument, "]")
		name = capital(generic) + argument[strings.LastIndexByte(argument, '.')+1:]
	}
	pkg := t.PkgPath()
	return pkg[strings.LastIndexByte(pkg, '/')+1:] + "." + capital(name)
}

func capital(s string) string { return string(unicode.ToUpper(rune(s[0]))) + s[1:] }

func (d *Document) properties(t reflect.Type) *Schema {
	s := &Schema{Type: "object", Properties: map[string]*Schema{}}
	d.addFields(s, t)
	return s
}

// addFields follows the rules of encoding/json. No field is required: requests
// may leave out any, and say so in the error if they may not.
func (d *Document) addFields(s *Schema, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case key == "-":
			continue
		case f.Anonymous && key == "":
			d.addFields(s, f.Type)
			continue
		case !f.IsExported():
			continue
		case key == "":
			key = f.Name
		}
		s.Properties[key] = d.schema(f.Type)
	}
}
