package selector

// census gathers which nodes a watcher names from the beginning of a present
// state to its sync. A watcher begins to tell the present state anew with a
// "lost". For one that forgets to, the first sign is a create of a node that is
// known. Creates of unknown nodes just before may be part of it or news from
// before the outage; they are kept, because to keep a dead node costs a failed
// attempt now and then, and to drop a live one costs its share of the service.
type census struct {
	begun bool
	named map[string]struct{}
}

// begin begins a present state.
func (c *census) begin() {
	c.begun = true
	clear(c.named)
}

// create notes the create of a node.
func (c *census) create(id string, known bool) {
	if known {
		c.begun = true
	}
	c.named[id] = struct{}{}
}

// update notes an update, which is no part of a present state.
func (c *census) update(id string) {
	if !c.begun {
		clear(c.named)
		return
	}
	c.named[id] = struct{}{}
}

// remove notes a delete, which is no part of a present state either.
func (c *census) remove(id string) {
	if !c.begun {
		clear(c.named)
		return
	}
	delete(c.named, id)
}

// reset begins the time after a sync.
func (c *census) reset() {
	c.begun = false
	clear(c.named)
}
