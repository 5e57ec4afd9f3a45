// Command dispatchd is the parcel-dispatch service, made of the packages of
// all lessons.
package main

import (
	"os"

	dispatchd "pitstop/lessons/24_capstone"
)

// Stamped by the linker: see the Makefile's image target.
var version, revision = "dev", "unknown"

func main() { os.Exit(dispatchd.Main(version + "+" + revision)) }
