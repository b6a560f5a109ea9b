package mux

// attached are the calls of a link, by their numbers. Many links have one call, and are silent
// for long: it needs no map.
type attached struct {
	n    uint32
	call *call // with the number n, or nil
	more map[uint32]*call
}

func (a *attached) get(n uint32) *call {
	if a.call != nil && a.n == n {
		return a.call
	}
	return a.more[n]
}

// put adds a call, whose number no other one has had.
func (a *attached) put(n uint32, c *call) {
	if a.call == nil {
		a.n, a.call = n, c
		return
	}
	if a.more == nil {
		a.more = map[uint32]*call{}
	}
	a.more[n] = c
}

// remove takes a call out, if it is there.
func (a *attached) remove(n uint32, c *call) {
	switch {
	case a.get(n) != c:
	case a.call == c:
		a.call = nil
	default:
		delete(a.more, n)
	}
}

func (a *attached) len() int {
	n := len(a.more)
	if a.call != nil {
		n++
	}
	return n
}

func (a *attached) all() []*call {
	list := make([]*call, 0, a.len())
	if a.call != nil {
		list = append(list, a.call)
	}
	for _, c := range a.more {
		list = append(list, c)
	}
	return list
}
