//go:build wirepoison

package wire

const poison = true
