// Command cdc-playground runs a whole TiDB cluster with change data capture in one process.
package main

import "os"

// releaseVersion is set by the build.
var releaseVersion = "v8.5.3"

func main() {
	if err := newCommand().Execute(); err != nil {
		os.Exit(1)
	}
}
