package rpc

// Refuse returns a Request that ends its call with a status as soon as it begins, after a head
// unless that is nil. A policy returns it from Start instead of passing the call on.
func Refuse(response Response, head *Head, st Status) Request {
	return &refusal{response, head, st}
}

type refusal struct {
	response Response
	head     *Head
	status   Status
}

func (r *refusal) Begin() {
	if r.head != nil {
		r.response.Head(r.head)
	}
	r.response.End(r.status, nil)
}
func (r *refusal) Data(b []byte) { r.response.Credit(len(b)) }
func (r *refusal) End()          {}
func (r *refusal) Cancel(Status) {}
func (r *refusal) Credit(int)    {}
func (r *refusal) Done(Outcome)  {}
