// Package shop holds the messages of the typed example.
package shop

// PriceRequest asks what an item costs.
type PriceRequest struct {
	Item string `json:"item"`
}

// PriceResponse says it.
type PriceResponse struct {
	Cents int `json:"cents"`
}

// Order is the event that somebody has ordered an item.
type Order struct {
	Item string `json:"item"`
}
