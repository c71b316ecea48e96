package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

// Set by the linker, see the Makefile.
var (
	releaseVersion = "v8.5.3"
	gitHash        = "None"
	gitBranch      = "None"
	buildTime      = "None"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Output version information",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprint(cmd.OutOrStdout(), versionText())
		},
	}
}

// versionText is six lines that tools parse.
func versionText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Release Version: %s\n", releaseVersion)
	fmt.Fprintf(&b, "Git Commit Hash: %s\n", gitHash)
	fmt.Fprintf(&b, "Git Branch: %s\n", gitBranch)
	fmt.Fprintf(&b, "UTC Build Time: %s\n", buildTime)
	fmt.Fprintf(&b, "Go Version: %s\n", runtime.Version())
	fmt.Fprintf(&b, "Failpoint Build: false\n")
	return b.String()
}
