// Package openapi judges the OpenAPI documents that sluice writes, by validators that are
// not ours.
package openapi
