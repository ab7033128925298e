package source

// slowPause between the chunks of a slow writer: longer than Quiet, since leases tell of a writer however
// slow it is.
var slowPause = quick.Quiet * 3
