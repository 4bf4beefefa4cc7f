// Package interop tests services against clients of other projects, and our
// client against servers of others. It is a module of its own, kept out of the
// workspace: what it needs would raise versions for everyone.
package interop
