package command

import "os"

// ballast makes the heap look larger to the garbage collector, which runs when the heap
// has doubled: a gateway keeps so little that it would otherwise collect several times
// a second. It is never touched, so it takes addresses and no memory. Large heaps hardly
// notice it.
//
//lint:ignore U1000 it is there to be held
var ballast []byte

const ballastBytes = 32 << 20

// takeBallast does what whoever sets GOGC or GOMEMLIMIT wants to do himself.
func takeBallast() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		ballast = make([]byte, ballastBytes)
	}
}
