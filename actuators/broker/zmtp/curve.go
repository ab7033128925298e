package zmtp

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"io"

	"golang.org/x/crypto/nacl/box"
	"golang.org/x/crypto/nacl/secretbox"
)

// Names and sizes of CurveZMQ (RFC 26), in bytes, without the names.
const (
	commandHello    = "HELLO"
	commandWelcome  = "WELCOME"
	commandInitiate = "INITIATE"

	helloSize       = 2 + 72 + KeySize + 8 + 64 + box.Overhead
	cookieSize      = 16 + 2*KeySize + secretbox.Overhead
	welcomeSize     = 16 + KeySize + cookieSize + box.Overhead
	vouchSize       = 2*KeySize + box.Overhead
	initiateMinimum = cookieSize + 8 + KeySize + 16 + vouchSize + box.Overhead
)

// Prefixes of nonces: the rest counts, or is random.
const (
	nonceHello    = "CurveZMQHELLO---"
	nonceWelcome  = "WELCOME-"
	nonceCookie   = "COOKIE--"
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

func (k *Key) array() *[KeySize]byte { return (*[KeySize]byte)(k) }

var errBox = refuse("key", "a box that its key does not open")

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
	server, client, last, err := openHello(hello, ring.Servers)
	if err != nil {
		return nil, err
	}
	temporary, err := GenerateKeyPair(random)
	if err != nil {
		return nil, err
	}
	welcome, cookie, err := welcomeFor(random, client, temporary, server)
	if err != nil {
		return nil, err
	}
	if _, err := rw.Write(appendCommandFrame(nil, commandWelcome, welcome)); err != nil {
		return nil, err
	}
	initiate, err := readCommand(rw, commandInitiate, initiateMinimum, maxReady)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(initiate[:cookieSize], cookie) != 1 {
		return nil, refuse("protocol", "another cookie than it was given")
	}
	p := &Peer{}
	meta, n, err := openInitiate(initiate, client, temporary, server, last, p)
	if err != nil {
		return nil, err
	}
	if !isAllowed(p.ClientKey, ring.Clients) {
		return nil, refuse("key", "a client's key that is not among those allowed")
	}
	if p.SocketType, p.Identity, err = parseMetadata(meta); err != nil {
		return nil, err
	}
	if err := fits(p.SocketType, cfg.Accept); err != nil {
		return nil, err
	}
	ready := counter(1)
	ready = box.Seal(ready, metadata(nil, cfg.SocketType, ""), nonce(nonceReady, counter(1)), client.array(), temporary.Secret.array())
	if _, err := rw.Write(appendCommandFrame(nil, commandReady, ready)); err != nil {
		return nil, err
	}
	var shared [KeySize]byte
	box.Precompute(&shared, client.array(), temporary.Secret.array())
	p.Seal = newSealer(&shared, true, 1)
	p.Open = newOpener(&shared, true, n)
	return p, nil
}

// openHello finds the server's key that a client has boxed its HELLO for, and with it the client's
// temporary key and the nonce that it has used.
func openHello(hello []byte, servers []KeyPair) (server KeyPair, client Key, last uint64, err error) {
	if hello[0] != 1 || hello[1] != 0 {
		return server, client, 0, refuse("version", "another version of CurveZMQ than 1.0")
	}
	for _, b := range hello[2:74] {
		if b != 0 { // they make a HELLO longer than its answer: nobody can be flooded by way of this server
			return server, client, 0, refuse("protocol", "a HELLO with something where nothing belongs")
		}
	}
	copy(client[:], hello[74:])
	rest := hello[74+KeySize:]
	last = binary.BigEndian.Uint64(rest)
	for _, s := range servers {
		if plain, ok := box.Open(nil, rest[8:], nonce(nonceHello, rest[:8]), client.array(), s.Secret.array()); ok {
			for _, b := range plain {
				if b != 0 {
					return server, client, 0, errBox
				}
			}
			return s, client, last, nil
		}
	}
	return server, client, 0, refuse("key", "a HELLO for another server's key")
}

// welcomeFor makes the data of a WELCOME. The cookie could keep the server's state for it; here the connection does,
// and the cookie only has to come back.
func welcomeFor(random io.Reader, client Key, temporary, server KeyPair) (welcome, cookie []byte, err error) {
	var r [32 + KeySize]byte // two nonces, and a key that is used once
	if _, err := io.ReadFull(random, r[:]); err != nil {
		return nil, nil, err
	}
	cookie = append(cookie, r[:16]...)
	var key [KeySize]byte
	copy(key[:], r[32:])
	cookie = secretbox.Seal(cookie, append(client[:], temporary.Secret[:]...), nonce(nonceCookie, r[:16]), &key)
	welcome = append(welcome, r[16:32]...)
	plain := append(append([]byte(nil), temporary.Public[:]...), cookie...)
	return box.Seal(welcome, plain, nonce(nonceWelcome, r[16:32]), client.array(), server.Secret.array()), cookie, nil
}

// openInitiate verifies that the client has the secret of its long-term key, and that it means this very
// connection and server. It sets p.ClientKey, and returns the metadata and the nonce that was used.
func openInitiate(initiate []byte, client Key, temporary, server KeyPair, last uint64, p *Peer) (meta []byte, n uint64, err error) {
	rest := initiate[cookieSize:]
	n = binary.BigEndian.Uint64(rest)
	if n <= last {
		return nil, 0, refuse("protocol", "a nonce that was used before")
	}
	plain, ok := box.Open(nil, rest[8:], nonce(nonceInitiate, rest[:8]), client.array(), temporary.Secret.array())
	if !ok {
		return nil, 0, errBox
	}
	copy(p.ClientKey[:], plain)
	vouch := plain[KeySize:]
	said, ok := box.Open(nil, vouch[16:16+vouchSize], nonce(nonceVouch, vouch[:16]), p.ClientKey.array(), temporary.Secret.array())
	if !ok || subtle.ConstantTimeCompare(said[:KeySize], client[:]) != 1 || subtle.ConstantTimeCompare(said[KeySize:], server.Public[:]) != 1 {
		return nil, 0, refuse("key", "a vouch that does not hold")
	}
	return vouch[16+vouchSize:], n, nil
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
	k := cfg.Curve
	hello := make([]byte, 74, helloSize)
	hello[0] = 1
	hello = append(append(hello, temporary.Public[:]...), counter(1)...)
	hello = box.Seal(hello, make([]byte, 64), nonce(nonceHello, counter(1)), k.Server.array(), temporary.Secret.array())
	if _, err := rw.Write(appendCommandFrame(nil, commandHello, hello)); err != nil {
		return nil, err
	}
	welcome, err := readCommand(rw, commandWelcome, welcomeSize, welcomeSize)
	if err != nil {
		return nil, err
	}
	plain, ok := box.Open(nil, welcome[16:], nonce(nonceWelcome, welcome[:16]), k.Server.array(), temporary.Secret.array())
	if !ok {
		return nil, errBox
	}
	var server Key // the temporary one
	copy(server[:], plain)
	initiate, err := initiateFor(random, cfg, plain[KeySize:], server, temporary)
	if err != nil {
		return nil, err
	}
	if _, err := rw.Write(appendCommandFrame(nil, commandInitiate, initiate)); err != nil {
		return nil, err
	}
	ready, err := readCommand(rw, commandReady, 8+box.Overhead, maxReady)
	if err != nil {
		return nil, err
	}
	meta, ok := box.Open(nil, ready[8:], nonce(nonceReady, ready[:8]), server.array(), temporary.Secret.array())
	if !ok {
		return nil, errBox
	}
	p := &Peer{}
	if p.SocketType, p.Identity, err = parseMetadata(meta); err != nil {
		return nil, err
	}
	if cfg.Accept != nil {
		if err := fits(p.SocketType, cfg.Accept); err != nil {
			return nil, err
		}
	}
	var shared [KeySize]byte
	box.Precompute(&shared, server.array(), temporary.Secret.array())
	p.Seal = newSealer(&shared, false, 2)
	p.Open = newOpener(&shared, false, binary.BigEndian.Uint64(ready))
	return p, nil
}

// initiateFor makes the data of an INITIATE.
func initiateFor(random io.Reader, cfg *ClientConfig, cookie []byte, server Key, temporary KeyPair) ([]byte, error) {
	k := cfg.Curve
	var n [16]byte
	if _, err := io.ReadFull(random, n[:]); err != nil {
		return nil, err
	}
	plain := append(append([]byte(nil), k.Client.Public[:]...), n[:]...)
	vouch := append(append([]byte(nil), temporary.Public[:]...), k.Server[:]...)
	plain = box.Seal(plain, vouch, nonce(nonceVouch, n[:]), server.array(), k.Client.Secret.array())
	plain = metadata(plain, cfg.SocketType, cfg.Identity)
	out := append(append([]byte(nil), cookie...), counter(2)...)
	return box.Seal(out, plain, nonce(nonceInitiate, counter(2)), server.array(), temporary.Secret.array()), nil
}
