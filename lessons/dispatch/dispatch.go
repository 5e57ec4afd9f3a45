// Package dispatch holds the few types that the lessons share: what dispatchd
// takes in and hands on. It is not a lesson, and nothing in it needs mending.
package dispatch

import "time"

// Order is one parcel that a depot wants delivered.
type Order struct {
	ID        string `json:"id"`
	Depot     string `json:"depot"`
	Recipient string `json:"recipient"`
	Address   string `json:"address"`
	Grams     int    `json:"grams"`
}

// Event is something that happened to a parcel on its way, as a scanner saw
// it.
type Event struct {
	ID    string    `json:"id"`
	Order string    `json:"order"`
	Kind  string    `json:"kind"` // as "picked_up", "delivered"
	At    time.Time `json:"at"`
}

// Position is where a courier was last seen.
type Position struct {
	Courier string    `json:"courier"`
	Lat     float64   `json:"lat"`
	Lon     float64   `json:"lon"`
	At      time.Time `json:"at"`
}
