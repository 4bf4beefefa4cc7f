package registry

// The metadata of a node that says how to call it. The names of the first two
// are go-micro's.
const (
	// ProtocolKey holds what the node speaks: "mucp", go-micro's own wire;
	// "grpc"; "micro", the native wire; or another name that the caller's
	// transport knows.
	ProtocolKey = "protocol"
	// SecureKey is "true" on nodes that take TLS only.
	SecureKey = "secure"
	// WireKey is Wire on nodes that speak the native wire, whatever else they
	// speak.
	WireKey = "wire"
	// Wire is the native wire in its first version.
	Wire = "micro/1"
)
