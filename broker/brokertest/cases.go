package brokertest

import "slices"

func cases() []testCase {
	return slices.Concat(deliveryCases(), lifeCases(), handlerCases(), promiseCases())
}
