// Package config reads what the operator wants: from defaults, the file, the
// environment and the command line, the later before the earlier.
//
// There is one table, [Config.Settings]. A row has the key of the file, the flag, the
// variables of the environment, the default, and the place in [Config] that all of
// them write to by the same parser. So a size is written the same everywhere, an error
// can say where the text came from, and the reference in docs is printed from the
// table. Limits and timeouts are the library's own structs.
//
// Nothing here opens what the configuration names: certificates, descriptor sets and
// sockets are the business of package command.
package config
