// Package layers holds no code: its test fails when an import points up. The table in
// the test is the list of all packages of the module, and a package that is not in it
// fails the test too, so that a new one gets its place by decision.
package layers
