// Command bench measures the built binaries against an embedded cluster and
// prints a Markdown table. docs/benchmarks.md holds results and the method.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// options are the command line.
type options struct {
	rows    int
	tables  int
	parts   string
	sinks   string
	profile string
}

// bench is one run of the program.
type bench struct {
	options
	part    string // that runs
	stack   *stack
	results []result
}

// result is one line of the table.
type result struct{ what, value string }

// add takes one result and shows it at once.
func (b *bench) add(what, format string, args ...any) {
	r := result{what, fmt.Sprintf(format, args...)}
	b.results = append(b.results, r)
	fmt.Fprintf(os.Stderr, "%s: %s\n", r.what, r.value)
}

// part is one group of measurements. Each starts its own cluster, so that
// none sees what another left behind.
type part struct {
	name string
	run  func(context.Context, *bench) error
}

func parts() []part {
	return []part{
		{"catchup", catchUp},
		{"latency", latency},
		{"tables", manyTables},
		{"api", apiReads},
		{"start", startUp},
		{"kafka", kafkaCatchUp},
		{"scale", scale},
		{"failover", failover},
	}
}

func main() {
	var o options
	flag.IntVar(&o.rows, "rows", 1_000_000, "row changes of the catch-up")
	flag.IntVar(&o.tables, "tables", scaleGroups*scalePerGroup, "tables of the part scale")
	flag.StringVar(&o.parts, "parts", "catchup,latency,tables,api,start", "what to measure; tables includes idle CPU and API reads; kafka, scale and failover have to be named")
	flag.StringVar(&o.sinks, "sinks", "blackhole,tidb,mariadb", "sinks of the catch-up")
	flag.StringVar(&o.profile, "profile", "", "a folder for CPU profiles of the catch-up and of API reads, which cost some CPU themselves")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// run measures the chosen parts. What was measured is printed even if a part
// fails.
func run(ctx context.Context, o options) error {
	b := &bench{options: o}
	var errs []error
	for _, p := range parts() {
		if !chosen(o.parts, p.name) || ctx.Err() != nil {
			continue
		}
		if err := b.runPart(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	fmt.Printf("%s\n\n| Measure | Result |\n|---|---|\n", machine())
	for _, r := range b.results {
		fmt.Printf("| %s | %s |\n", r.what, r.value)
	}
	return errors.Join(errs...)
}

func (b *bench) runPart(ctx context.Context, p part) error {
	var err error
	b.part = p.name
	if b.stack, err = startStack(ctx, p.name); err != nil {
		return err
	}
	err = p.run(ctx, b)
	b.stack.close(err == nil)
	return err
}

// chosen tells whether a comma-separated list names something.
func chosen(list, name string) bool {
	for _, s := range strings.Split(list, ",") {
		if strings.TrimSpace(s) == name {
			return true
		}
	}
	return false
}
