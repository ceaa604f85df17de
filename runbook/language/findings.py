"""What each finding in a document means: one paragraph per code, stable, never reused.

The reference of error codes is generated from this table; errors.py has the codes from RB5xx on.
"""

FINDINGS: dict[str, str] = {
    # --- the text ---
    "RB100": "The file cannot be read: it is missing, a directory, or not ours to read.",
    "RB101": (
        "The file is not valid YAML. A value that holds `: `, `#`, or begins with `{`, `[`, "
        "`*`, `&` or a tab must be quoted; `${{ … }}` must be quoted inside `[ ]` and `{ }`."
    ),
    "RB102": (
        "A mapping has the same key twice. YAML tools silently keep the last; here it is an error."
    ),
    "RB103": "Keys are strings. A key that reads as a number, boolean or nothing must be quoted.",
    "RB104": (
        "This is a number that JSON cannot hold: too large, too long, or not finite. Quote it if "
        "it is text."
    ),
    "RB105": "Tags such as `!include` or `!!python/…` are not supported.",
    "RB106": (
        "An alias contains itself, or the aliases of the file expand to far more than is written."
    ),
    "RB107": "Merge keys (`<<`) are not part of YAML 1.2 and not supported.",
    "RB108": "The file is larger than 1 MiB or nested deeper than 64 levels.",
    "RB109": "The file is not UTF-8, or holds an invisible control character.",
    "RB110": "The file is empty, or holds more than one document.",
    # --- the shape ---
    "RB201": (
        "A key that nothing reads: most often a spelling mistake, or one level too deep or high."
    ),
    "RB202": "A key that must be there is missing.",
    "RB203": "There is no step kind of that name. `runbook steps` lists all.",
    "RB204": (
        "A value is of another type than is wanted. It is never converted: `1.10` is a "
        "number, `'1.10'` is text, `no` is text, `false` is a boolean."
    ),
    "RB205": "A value is not one of those that are allowed.",
    "RB206": (
        "A value has the right type and is out of bounds, too short, or not in the right form."
    ),
    "RB207": (
        "The parameters of a step or of a resource, or the keys of an input, do not fit together: "
        "see the message."
    ),
    # --- names and expressions ---
    "RB301": (
        "An expression uses a name that does not exist, or that is not known where it stands. "
        "Names: inputs, vars, env, run, steps, secrets, resources; in `on_failure.with` also "
        "failure."
    ),
    "RB302": "The step's kind has no output of that name. `runbook steps KIND` shows its outputs.",
    "RB303": (
        "An expression does not parse, or uses what is not allowed: calls, `**`, `*` on text, "
        "or a filter that is not on the list."
    ),
    "RB304": "A `${{` is not closed by `}}`.",
    "RB305": (
        "An expression stands where none may: in a key that is read before anything is "
        "computed. In `when` it stands bare, without `${{ }}`."
    ),
    "RB306": (
        "An expression uses a step that is not surely over by then: a later one, one of "
        "another branch of the same group, or the step itself."
    ),
    "RB307": (
        "An output is used that some path leaves unset: the step that gives it may fail or be "
        "skipped before, and `finally` steps go on after one of them has failed. Guard the use by "
        "its status, or give the step that uses it the same `when`. What a command prints is an "
        "output only where its `output` asks for it."
    ),
    "RB308": "Two steps of a runbook, groups and finally steps included, have the same id.",
    "RB309": (
        "`after` names no step, or is needed because the first step changes something already."
    ),
    "RB310": "`undoes` names no step of the runbook that is undone, or stands outside a rollback.",
    "RB311": "There is no resource of that name in the runbook or its project.yaml.",
    "RB312": "The resource is of another type than this parameter takes.",
    "RB313": (
        "There is no file of that name; paths start at the folder of the file that names them."
    ),
    "RB314": (
        "A rollback and the runbook that starts it must name each other: `on_failure.runbook` "
        "there, `for` here."
    ),
    "RB315": (
        "The list of a loop is not known when the run is planned. Write it out, or put it under "
        "`vars`; what a step finds out, or an input says, cannot change which steps there are. Of "
        "too many items, or of none anywhere, there is nothing to run."
    ),
    "RB316": "The name of a loop's item means something else already.",
    "RB317": (
        "A runbook cannot be used as a step: it is not valid, it uses itself, it has what only a "
        "runbook that runs by itself may have (`for`, `on_failure`, `finally`, `lock`), or a name "
        "means another resource or secret there."
    ),
    # --- rules ---
    "RB401": (
        "A step destroys what nothing before it has backed up. Back it up, load a restore "
        "point first, or accept it by `irreversible: reason`."
    ),
    "RB402": (
        "`retry` stands on a step that must not repeat: its kind forbids it, or nobody has said "
        "that it may. Say `rerun: safe`, or give a `probe`, where it may run again."
    ),
    "RB403": (
        "A secret, or what is computed from one, stands where it would be seen: in `when`, a "
        "name, an argument list (every user of the machine can read those) or an input of a "
        "rollback."
    ),
    "RB404": (
        "An expression stands in script text, or in the text after `bash -c` and its like, where "
        "its value would be read as code. Pass it by `environment` and use the variable, or as "
        "an argument."
    ),
    "RB405": "Finally steps may run more than once, so their kinds must be safe to repeat.",
    "RB406": (
        "`rerun` stands on a kind that fixes it itself, or asks for a probe that there is not."
    ),
    "RB407": (
        "The declaration of an input contradicts itself: its default or bounds are not of its "
        "type, or no value fits them."
    ),
    "RB408": (
        "A sensitive input comes by `env`, and has no default. Of a runbook that is used as a step "
        "it takes a secret, and nothing else."
    ),
    "RB409": "A rollback never starts another rollback, so it has no `on_failure`.",
    "RB410": (
        "What `on_failure.with` gives does not fit the inputs of the rollback, or what a step "
        "gives those of the runbook that it uses. What is computed fits where it surely keeps "
        "within the type, `choices`, `pattern` and bounds."
    ),
    "RB411": "An environment is called as its file is: the two names differ.",
    "RB412": (
        "An environment, or a vars file, names an input, a runbook or a step that no runbook "
        "beside it has."
    ),
    "RB413": "A policy's window names a time zone that there is not.",
    "RB414": (
        "What an expression gives does not fit where it stands: it is of another type, or out of "
        "bounds. A condition must be true or false."
    ),
    # --- warnings ---
    "RB451": "An input is declared and never used.",
    "RB452": "A `when` does not depend on anything: the step always runs, or never.",
    "RB453": (
        "A condition can never hold, in `when` or `assert`: a name is compared with what it never "
        "is (a choice that the input does not have, a status that there is not, text where it is "
        "a number, what lies outside its bounds), or its parts exclude each other."
    ),
    "RB454": (
        "A step says that it `changes` a resource, and the rollback has no step that restores "
        "it: a migration with no way back."
    ),
    "RB455": (
        "An environment, or a vars file, gives a variable that no runbook beside it uses: most "
        "often its name is misspelt, and the runbooks go on with what they had."
    ),
}
