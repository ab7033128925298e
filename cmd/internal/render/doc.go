// Package render turns what is known (plans, statuses, histories, diagnostics) into text for people.
//
// Invariants: pure, values in and text out, with the time as an argument; no fact is told by colour
// alone, so that a pipe, NO_COLOR and a blind person lose nothing; every state is shown with its reason
// and with the age of what it rests on.
//
//	fmt.Print(render.Plan(plan, render.Options{Color: true, Now: time.Now()}))
package render
