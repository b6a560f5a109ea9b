package policy

import (
	"errors"

	"github.com/sluice-rpc/sluice/rpc"
)

// Authenticate refuses the calls for which who returns an error: with its status, if it is an
// [rpc.Status], else with UNAUTHENTICATED.
func Authenticate(next rpc.Handler, who func(*rpc.Call) (principal string, err error)) rpc.Handler {
	return rpc.HandlerFunc(func(call *rpc.Call, response rpc.Response) rpc.Request {
		if _, err := who(call); err != nil {
			st, ok := errors.AsType[rpc.Status](err)
			if !ok {
				st = rpc.Status{Code: rpc.Unauthenticated, Message: err.Error()}
			}
			return rpc.Refuse(response, nil, st)
		}
		return next.Start(call, response)
	})
}
