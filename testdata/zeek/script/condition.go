package script

import (
	"strconv"
	"strings"
)

// version is the Zeek that the stand-in claims to be, as Version::number has it.
const version = 80202

// evaluate computes the condition of an @if: comparisons and logic over the names
// that generated scripts use. What it does not know is false.
func (p *Program) evaluate(condition string, getenv func(string) string) bool {
	x := newLexer(condition)
	e := &evaluator{program: p, getenv: getenv}
	for t := x.next(); t.kind != eof; t = x.next() {
		e.tokens = append(e.tokens, t)
	}
	return truth(e.or())
}

// evaluator is a recursive descent over the tokens; values are kept as text.
type evaluator struct {
	program *Program
	getenv  func(string) string
	tokens  []token
}

func (e *evaluator) peek() string {
	if len(e.tokens) == 0 {
		return ""
	}
	return e.tokens[0].text
}

func (e *evaluator) take() token {
	if len(e.tokens) == 0 {
		return token{}
	}
	t := e.tokens[0]
	e.tokens = e.tokens[1:]
	return t
}

func (e *evaluator) or() string {
	left := e.and()
	for e.peek() == "||" {
		e.take()
		right := e.and()
		left = boolean(truth(left) || truth(right))
	}
	return left
}

func (e *evaluator) and() string {
	left := e.comparison()
	for e.peek() == "&&" {
		e.take()
		right := e.comparison()
		left = boolean(truth(left) && truth(right))
	}
	return left
}

func (e *evaluator) comparison() string {
	left := e.term()
	op := e.peek()
	switch op {
	case "==", "!=", "<", ">", "<=", ">=":
		e.take()
	default:
		return left
	}
	right := e.term()
	l, errL := strconv.Atoi(left)
	r, errR := strconv.Atoi(right)
	order := strings.Compare(left, right)
	if errL == nil && errR == nil {
		order = l - r
	}
	switch op {
	case "==":
		return boolean(order == 0)
	case "!=":
		return boolean(order != 0)
	case "<":
		return boolean(order < 0)
	case ">":
		return boolean(order > 0)
	case "<=":
		return boolean(order <= 0)
	}
	return boolean(order >= 0)
}

func (e *evaluator) term() string {
	t := e.take()
	switch {
	case t.kind == str:
		return t.text
	case t.kind == word && e.peek() == "(":
		e.take()
		arg := ""
		if e.peek() != ")" {
			arg = e.or()
		}
		e.take()
		return e.call(t.text, arg)
	case t.kind == word:
		return e.name(t.text)
	case t.text == "!":
		return boolean(!truth(e.term()))
	case t.text == "(":
		value := e.or()
		e.take()
		return value
	case t.text == "|":
		value := e.term()
		e.take()
		return strconv.Itoa(len(value))
	}
	return ""
}

func (e *evaluator) call(name, arg string) string {
	self, inLayout := e.program.Self()
	switch name {
	case "Cluster::is_enabled":
		return boolean(e.program.node != "")
	case "Cluster::local_node_type":
		if !inLayout {
			return "Cluster::NONE"
		}
		return "Cluster::" + self.Type
	case "Cluster::local_node_metrics_port":
		return strconv.Itoa(self.MetricsPort) + "/tcp"
	case "Cluster::get_node_count":
		n := 0
		for _, node := range e.program.nodes {
			if "Cluster::"+node.Type == arg {
				n++
			}
		}
		return strconv.Itoa(n)
	case "Version::at_least":
		return "T"
	case "getenv":
		return e.getenv(arg)
	}
	return "F"
}

func (e *evaluator) name(name string) string {
	switch name {
	case "Cluster::node":
		return e.program.node
	case "Version::number":
		return strconv.Itoa(version)
	}
	if v, ok := e.program.values[name]; ok {
		return e.program.text(v)
	}
	return name // T, F, numbers, enumerators
}

func truth(s string) bool { return s == "T" }

func boolean(b bool) string {
	if b {
		return "T"
	}
	return "F"
}
