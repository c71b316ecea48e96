// Command cdc is the change-data-capture server and its tools.
package main

import (
	"os"

	"github.com/spf13/cobra"
)

func main() {
	if err := newRootCommand(runServer).Execute(); err != nil {
		os.Exit(1)
	}
}

// newRootCommand assembles the commands; run starts the server.
func newRootCommand(run serverRunner) *cobra.Command {
	root := &cobra.Command{
		Use:   "cdc",
		Short: "CDC",
		Long:  "Change Data Capture: replicates the changes of a TiDB cluster",
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newServerCommand(run), newVersionCommand())
	return root
}
