package zmtp

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"io"

	"golang.org/x/crypto/curve25519"
	"golang.org/x/crypto/nacl/box"
	"golang.org/x/crypto/salsa20/salsa" //nolint:staticcheck // for the first step of XSalsa20 alone, as nacl/box does it
)

// Names and sizes of CurveZMQ (RFC 26), in bytes, without the names.
const (
	commandHello    = "HELLO"
	commandWelcome  = "WELCOME"
	commandInitiate = "INITIATE"

	helloSize       = 2 + 72 + KeySize + 8 + 64 + box.Overhead
	cookieSize      = 16 + 2*KeySize + box.Overhead
	welcomeSize     = 16 + KeySize + cookieSize + box.Overhead
	vouchSize       = 2*KeySize + box.Overhead
	initiateMinimum = cookieSize + 8 + KeySize + 16 + vouchSize + box.Overhead
)

// Prefixes of nonces: the rest counts, or is random.
const (
	nonceHello    = "CurveZMQHELLO---"
	nonceWelcome  = "WELCOME-"
	nonceInitiate = "CurveZMQINITIATE"
	nonceVouch    = "VOUCH---"
	nonceReady    = "CurveZMQREADY---"
)

func nonce(prefix string, rest []byte) *[24]byte {
	var n [24]byte
	copy(n[copy(n[:], prefix):], rest)
	return &n
}

func counter(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// shared is what two keys have in common: the key of all boxes between them. It is box.Precompute of nacl, except that a
// public key that has something in common with nobody, and so would give everybody the same, is refused.
type shared [KeySize]byte

func share(public, secret *Key) (*shared, error) {
	point, err := curve25519.X25519(secret[:], public[:])
	if err != nil {
		return nil, refuse("key", "a public key that fits every secret one")
	}
	var s shared
	salsa.HSalsa20((*[KeySize]byte)(&s), &[16]byte{}, (*[KeySize]byte)(point), &salsa.Sigma)
	return &s, nil
}

// seal appends a box.
func (s *shared) seal(dst, plain []byte, n *[24]byte) []byte {
	return box.SealAfterPrecomputation(dst, plain, n, (*[KeySize]byte)(s))
}

func (s *shared) open(sealed []byte, n *[24]byte) ([]byte, error) {
	plain, ok := box.OpenAfterPrecomputation(nil, sealed, n, (*[KeySize]byte)(s))
	if !ok {
		return nil, refuse("key", "a box that its key does not open")
	}
	return plain, nil
}

// curveServer is the server's half of the handshake, after the greeting.
func curveServer(rw io.ReadWriter, cfg *ServerConfig, ring Keyring) (*Peer, error) {
	random := cfg.Rand
	if random == nil {
		random = rand.Reader
	}
	hello, err := readCommand(rw, commandHello, helloSize, helloSize)
	if err != nil {
		return nil, err
	}
	h, err := openHello(hello, ring.Servers)
	if err != nil {
		return nil, err
	}
	temporary, err := GenerateKeyPair(random)
	if err != nil {
		return nil, err
	}
	var r [16 + cookieSize]byte
	if _, err := io.ReadFull(random, r[:]); err != nil {
		return nil, err
	}
	n, cookie := r[:16], r[16:]
	welcome := h.shared.seal(n[:16:16], append(temporary.Public[:], cookie...), nonce(nonceWelcome, n))
	if _, err := rw.Write(appendCommandFrame(nil, commandWelcome, welcome)); err != nil {
		return nil, err
	}
	initiate, err := readCommand(rw, commandInitiate, initiateMinimum, maxReady)
	if err != nil {
		return nil, err
	}
	// The cookie could keep the server's state at the client. Here the connection keeps it, and the cookie, some
	// random bytes, only has to come back.
	if subtle.ConstantTimeCompare(initiate[:cookieSize], cookie) != 1 {
		return nil, refuse("protocol", "another cookie than it was given")
	}
	both, err := share(&h.client, &temporary.Secret)
	if err != nil {
		return nil, err
	}
	p := &Peer{}
	data, last, err := openInitiate(initiate[cookieSize:], h, both, &temporary.Secret, &p.ClientKey)
	if err != nil {
		return nil, err
	}
	if !isAllowed(p.ClientKey, ring.Clients) {
		return nil, refuse("key", "a client's key that is not among those allowed")
	}
	if err := p.describe(data, cfg.Accept, false); err != nil {
		return nil, err
	}
	ready := both.seal(counter(1), metadata(nil, cfg.SocketType, ""), nonce(nonceReady, counter(1)))
	if _, err := rw.Write(appendCommandFrame(nil, commandReady, ready)); err != nil {
		return nil, err
	}
	p.Seal = newSealer((*[KeySize]byte)(both), true, 1)
	p.Open = newOpener((*[KeySize]byte)(both), true, last)
	return p, nil
}

// hello is what a HELLO has told.
type hello struct {
	server Key // the server's public key that it is for
	client Key // the client's temporary one
	shared *shared
	last   uint64 // the counter that was used in it
}

// openHello finds the server's key that a client has boxed its HELLO for.
func openHello(data []byte, servers []KeyPair) (*hello, error) {
	if data[0] != 1 || data[1] != 0 {
		return nil, refuse("version", "another version of CurveZMQ than 1.0")
	}
	const padding = 72 // it makes a HELLO longer than its answer: nobody can be flooded by way of this server
	var zeros [padding]byte
	if !bytes.Equal(data[2:2+padding], zeros[:]) {
		return nil, refuse("protocol", "a HELLO with something where nothing belongs")
	}
	h := &hello{client: Key(data[2+padding:])}
	rest := data[2+padding+KeySize:]
	h.last = binary.BigEndian.Uint64(rest)
	for i := range servers {
		var err error
		if h.shared, err = share(&h.client, &servers[i].Secret); err != nil {
			return nil, err
		}
		plain, err := h.shared.open(rest[8:], nonce(nonceHello, rest[:8]))
		if err != nil {
			continue
		}
		if !bytes.Equal(plain, zeros[:64]) {
			return nil, refuse("protocol", "a HELLO with something in its box")
		}
		h.server = servers[i].Public
		return h, nil
	}
	return nil, refuse("key", "a HELLO for another server's key")
}

// openInitiate verifies that the client has the secret of its long-term key, and that it means this very connection
// and server. data begins behind the cookie. It sets long, and returns the metadata and the counter that was used.
func openInitiate(data []byte, h *hello, both *shared, temporary, long *Key) (metadata []byte, last uint64, err error) {
	last = binary.BigEndian.Uint64(data)
	if last <= h.last {
		return nil, 0, refuse("protocol", "a nonce that was used before")
	}
	plain, err := both.open(data[8:], nonce(nonceInitiate, data[:8]))
	if err != nil {
		return nil, 0, err
	}
	*long = Key(plain)
	n, vouch := plain[KeySize:KeySize+16], plain[KeySize+16:][:vouchSize]
	voucher, err := share(long, temporary)
	if err != nil {
		return nil, 0, err
	}
	said, err := voucher.open(vouch, nonce(nonceVouch, n))
	if err != nil {
		return nil, 0, err
	}
	if subtle.ConstantTimeCompare(said, append(h.client[:], h.server[:]...)) != 1 {
		return nil, 0, refuse("key", "a vouch for something else")
	}
	return plain[KeySize+16+vouchSize:], last, nil
}

// isAllowed looks at every key, whichever fits.
func isAllowed(k Key, allowed []Key) bool {
	found := 0
	for _, a := range allowed {
		found |= subtle.ConstantTimeCompare(k[:], a[:])
	}
	return found == 1
}

// curveClient is the client's half.
func curveClient(rw io.ReadWriter, cfg *ClientConfig) (*Peer, error) {
	random := cfg.Rand
	if random == nil {
		random = rand.Reader
	}
	temporary, err := GenerateKeyPair(random)
	if err != nil {
		return nil, err
	}
	long, err := share(&cfg.Curve.Server, &temporary.Secret)
	if err != nil {
		return nil, err
	}
	hello := append(make([]byte, 74, helloSize), temporary.Public[:]...)
	hello[0] = 1
	hello = long.seal(append(hello, counter(1)...), make([]byte, 64), nonce(nonceHello, counter(1)))
	if _, err := rw.Write(appendCommandFrame(nil, commandHello, hello)); err != nil {
		return nil, err
	}
	welcome, err := readCommand(rw, commandWelcome, welcomeSize, welcomeSize)
	if err != nil {
		return nil, err
	}
	plain, err := long.open(welcome[16:], nonce(nonceWelcome, welcome[:16]))
	if err != nil {
		return nil, err
	}
	server, cookie := Key(plain), plain[KeySize:] // the server's temporary key
	both, err := share(&server, &temporary.Secret)
	if err != nil {
		return nil, err
	}
	content, err := initiateBox(random, cfg, &server, &temporary.Public)
	if err != nil {
		return nil, err
	}
	initiate := both.seal(append(cookie, counter(2)...), content, nonce(nonceInitiate, counter(2)))
	if _, err := rw.Write(appendCommandFrame(nil, commandInitiate, initiate)); err != nil {
		return nil, err
	}
	ready, err := readCommand(rw, commandReady, 8+box.Overhead, maxReady)
	if err != nil {
		return nil, err
	}
	data, err := both.open(ready[8:], nonce(nonceReady, ready[:8]))
	if err != nil {
		return nil, err
	}
	p := &Peer{}
	if err := p.describe(data, cfg.Accept, cfg.Accept == nil); err != nil {
		return nil, err
	}
	p.Seal = newSealer((*[KeySize]byte)(both), false, 2)
	p.Open = newOpener((*[KeySize]byte)(both), false, binary.BigEndian.Uint64(ready))
	return p, nil
}

// initiateBox makes what the box of an INITIATE holds: who the client is, that it means this connection, and its metadata.
func initiateBox(random io.Reader, cfg *ClientConfig, server, temporary *Key) ([]byte, error) {
	k := cfg.Curve
	voucher, err := share(server, &k.Client.Secret)
	if err != nil {
		return nil, err
	}
	var n [16]byte
	if _, err := io.ReadFull(random, n[:]); err != nil {
		return nil, err
	}
	plain := append(append([]byte(nil), k.Client.Public[:]...), n[:]...)
	plain = voucher.seal(plain, append(temporary[:], k.Server[:]...), nonce(nonceVouch, n[:]))
	return metadata(plain, cfg.SocketType, cfg.Identity), nil
}
