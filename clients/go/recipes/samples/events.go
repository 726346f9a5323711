// Package samples has the events of an application, each with a sample.
package samples

// OrderPlaced says that a customer has ordered.
type OrderPlaced struct {
	OrderID string  `json:"orderId"`
	Total   float64 `json:"total"`
	Lines   []Line  `json:"lines"`
}

// Line is one article of an order.
type Line struct {
	SKU   string `json:"sku"`
	Count int    `json:"count"`
}

// OrderCancelled says that an order is taken back. Reason is nil where nobody gave one.
type OrderCancelled struct {
	OrderID string  `json:"orderId"`
	Reason  *string `json:"reason"`
}

// Samples has samples of all events, by type. What may be nil has two samples, one with a value: the
// schema has both.
func Samples() map[string][]any {
	reason := "sold out"
	return map[string][]any{
		"order.placed":    {OrderPlaced{OrderID: "o-1", Total: 12.5, Lines: []Line{{SKU: "s-7", Count: 2}}}},
		"order.cancelled": {OrderCancelled{OrderID: "o-1", Reason: &reason}, OrderCancelled{OrderID: "o-2"}},
	}
}
