// Package docs holds the guides, and the test that their links lead somewhere.
package docs
