##! Lets a node be told new values of options while it runs.
##!
##! zeekrec keeps a file of the config framework's format beside each node, with the options that are not what they were
##! at the node's start. It is read again whenever it changes. Each node has its own, so nothing is sent to the others, and
##! no node is told on joining what another has. Of what is set by other means nothing is changed but by the next change
##! of that line.
##!
##! When the node has taken a revision of the file, it writes down the values as it has them then: JSON, of
##! Zeekrec::TuneAnswer.

@load base/frameworks/config
@load base/frameworks/input

module Zeekrec;

export {
	## The file with the options, and the one for the answer; empty: the node is told none.
	const tune_file = "" &redef;
	const tune_answer_file = "" &redef;

	## The last line of the file: when it comes, all before it have been set. It is an option only so that it may be in
	## the file, and is never set.
	option tune_revision = "";

	type TuneAnswer: record {
		revision: string;
		## Values that the node has now, as JSON, of all options that were in the file since its start.
		values: table[string] of string;
		## Those that Zeek did not take.
		refused: set[string];
	};

	## JSON of a value, without loss where the type is one that the file may have.
	global tune_json: function(v: any): string;
}

type TuneItem: record {
	option_nv: string;
};

const tune_stream = "zeekrec-tune";
global tune_items: table[string] of string;
global tuned: set[string];
global tune_refused: set[string];

function tune_json(v: any): string
	{
	return to_json(v, F, /^_/, T);
	}

function tune_answer(revision: string)
	{
	local a = TuneAnswer($revision=revision, $values=table(), $refused=tune_refused);

	for ( id in tuned )
		a$values[id] = tune_json(lookup_ID(id));

	# In one piece: somebody may be reading it.
	local tmp = tune_answer_file + ".tmp";
	local out = open(tmp);

	if ( write_file(out, to_json(a)) && close(out) )
		rename(tmp, tune_answer_file);
	}

event InputConfig::new_value(name: string, source: string, id: string, value: any)
	{
	if ( name != tune_stream )
		return;

	if ( id == "Zeekrec::tune_revision" )
		{
		tune_answer(value);
		return;
		}

	add tuned[id];
	delete tune_refused[id];

	# No change, no line in config.log.
	if ( tune_json(lookup_ID(id)) == tune_json(value) )
		return;

	if ( ! Option::set(id, value, "zeekrec") )
		add tune_refused[id];
	}

event zeek_init() &priority=-10
	{
	if ( tune_file == "" )
		return;

	Input::add_table(Input::TableDescription(
		$reader=Input::READER_CONFIG, $source=tune_file, $name=tune_stream, $idx=TuneItem, $val=TuneItem,
		$want_record=F, $destination=tune_items, $mode=Input::REREAD));
	}
