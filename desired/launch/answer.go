package launch

import (
	_ "embed"
	"path/filepath"
)

// AnswerScript is the file by which a node of a ZeroMQ cluster answers zeekrec's questions: zeekbus.Question. Zeek 8.0 to
// 9.1 have what it takes without a difference, with the Broker backend built in or not.
const AnswerScript = "zeekrec-answer.zeek"

//go:embed zeek/zeekrec-answer.zeek
var answerScript string

// AnswerFile is where AnswerScript is among the generated files of a start (Launch.GenDir). A process whose start has none,
// of an older zeekrec, does not answer; to ask it would make it report an error.
func AnswerFile(genDir string) string { return filepath.Join(genDir, AnswerScript) }
