package keys

import (
	"errors"
	"fmt"

	"github.com/zeekrec/zeekrec/actuators/broker/zmtp"
)

// Generate makes a key pair from fresh random numbers, as Zeek's own generate_keypair does.
func Generate() (KeyPair, error) {
	p, err := zmtp.GenerateKeyPair(nil)
	if err != nil {
		return KeyPair{}, err
	}
	return KeyPair{Public: p.Public.Z85(), Secret: secretOf(p.Secret.Z85())}, nil
}

// fits says why a public and a secret key are no pair. Neither is in what it says.
func fits(public string, secret Secret) error {
	p, err := zmtp.ParseKey(public)
	if err != nil {
		return fmt.Errorf("the public one: %w", err)
	}
	s, err := zmtp.ParseKey(secret.Reveal())
	if err != nil {
		return fmt.Errorf("the secret one: %w", err)
	}
	if s.Public() != p {
		return errors.New("the public one does not belong to the secret one")
	}
	return nil
}

// Server is the key pair of the broker and the loggers, as package zmtp takes it.
func (p *Pair) Server() (zmtp.KeyPair, error) { return pairOf(p.ServerPublic, p.ServerSecret) }

// Client is the key pair of all nodes.
func (p *Pair) Client() (zmtp.KeyPair, error) { return pairOf(p.ClientPublic, p.ClientSecret) }

func pairOf(public string, secret Secret) (zmtp.KeyPair, error) {
	p, err := zmtp.ParseKey(public)
	if err != nil {
		return zmtp.KeyPair{}, err
	}
	s, err := zmtp.ParseKey(secret.Reveal())
	return zmtp.KeyPair{Public: p, Secret: s}, err
}
