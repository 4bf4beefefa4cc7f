//go:build !linux

package local

func newNotifier(string) (notifier, error) { return newPoller(), nil }
