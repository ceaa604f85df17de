"""A wrong and a right piece of a runbook for each finding: what `runbook explain` shows.

Each is a part of a runbook beside a `project.yaml` that has the resources `code` (git), `db`
(sqlite), `uploads` (directory) and `web` (process), and beside a `rollback.yaml` that undoes it.
The tests validate both: the wrong one has that finding, the right one has none.
"""

_DIFFS = r"""
RB101
- summary: deploy: the shop
+ summary: "deploy: the shop"

RB102
  vars:
-   port: '8080'
    port: '9090'

RB103
  steps:
    - id: say
      uses: command
-     with: {argv: [say], environment: {404: missing}}
+     with: {argv: [say], environment: {CODE_404: missing}}

RB104
  vars:
-   commit: 4e81234
+   commit: '4e81234'

RB105
  vars:
-   ports: !set {a, b}
+   ports: [a, b]

RB106
  vars:
-   ports: &ports [1, *ports]
+   port: &port 1
+   ports: [*port]

RB107
  vars:
    usual: &usual {retries: 3}
-   slow: {<<: *usual}
+   slow: *usual

RB110
  lock: shop
- ---
- lock: shop

RB201
  steps:
-   - {id: dump, uses: backup_db, with: {databse: db}}
+   - {id: dump, uses: backup_db, with: {database: db}}

RB202
  steps:
-   - {uses: wait, with: {for: 30s}}
+   - {id: settle, uses: wait, with: {for: 30s}}

RB203
  steps:
-   - {id: settle, uses: sleep, with: {for: 30s}}
+   - {id: settle, uses: wait, with: {for: 30s}}

RB204
  steps:
-   - {id: code, uses: git_checkout, with: {repository: code, revision: 1.10}}
+   - {id: code, uses: git_checkout, with: {repository: code, revision: '1.10'}}

RB205
  steps:
-   - {id: undo, uses: command, rerun: never, with: {argv: [make, stop]}}
+   - {id: undo, uses: command, rerun: safe, with: {argv: [make, stop]}}

RB206
  steps:
-   - {id: settle, uses: wait, with: {for: half an hour}}
+   - {id: settle, uses: wait, with: {for: 30m}}

RB207
  steps:
-   - {id: build, uses: command, with: {argv: [make], script: make}}
+   - {id: build, uses: command, with: {argv: [make]}}

RB301
  inputs: {tag: {type: string}}
  steps:
-   - {id: keep, uses: set, with: {value: '${{ inputs.tga }}'}}
+   - {id: keep, uses: set, with: {value: '${{ inputs.tag }}'}}

RB302
  steps:
    - {id: now, uses: record_commit, with: {repository: code}}
-   - {id: keep, uses: set, with: {value: '${{ steps.now.outputs.hash }}'}}
+   - {id: keep, uses: set, with: {value: '${{ steps.now.outputs.commit }}'}}

RB303
- vars: {name: '${{ env.name.upper() }}'}
+ vars: {name: '${{ env.name | upper }}'}

RB304
- vars: {name: '${{ env.name }'}
+ vars: {name: '${{ env.name }}'}

RB305
  steps:
-   - {id: settle, uses: wait, with: {for: 30s}, when: '${{ env.protected }}'}
+   - {id: settle, uses: wait, with: {for: 30s}, when: env.protected}

RB306
  steps:
+   - {id: second, uses: set, with: {value: 1}}
    - {id: first, uses: set, with: {value: '${{ steps.second.outputs.value }}'}}
-   - {id: second, uses: set, with: {value: 1}}

RB307
  steps:
    - {id: tag, uses: set, with: {value: 1}, when: env.protected}
-   - {id: keep, uses: set, with: {value: '${{ steps.tag.outputs.value }}'}}
+   - {id: keep, uses: set, with: {value: '${{ steps.tag.outputs.value }}'}, when: env.protected}

RB308
  steps:
    - {id: settle, uses: wait, with: {for: 1s}}
-   - {id: settle, uses: wait, with: {for: 9s}}
+   - {id: settle_again, uses: wait, with: {for: 9s}}

RB309
  steps:
    - {id: look, uses: wait, with: {for: 1s}}
    - {id: build, uses: command, with: {argv: [make]}}
- on_failure: {runbook: rollback.yaml, after: loook}
+ on_failure: {runbook: rollback.yaml, after: look}

RB310
+ for: rollback.yaml
  steps:
-   - {id: settle, uses: wait, with: {for: 1s}, undoes: [release]}
+   - {id: settle, uses: wait, with: {for: 1s}, undoes: [back]}

RB311
  steps:
-   - {id: dump, uses: backup_db, with: {database: database}}
+   - {id: dump, uses: backup_db, with: {database: db}}

RB312
  steps:
-   - {id: dump, uses: backup_db, with: {database: uploads}}
+   - {id: dump, uses: backup_db, with: {database: db}}

RB313
  steps:
    - {id: look, uses: wait, with: {for: 1s}}
- on_failure: {runbook: undo.yaml}
+ on_failure: {runbook: rollback.yaml}

RB315
  steps:
    - for_each:
-       in: ${{ run.id }}
+       in: [orders, stock]
        as: name
        steps: [{id: say, uses: set, with: {value: "${{ name }}"}}]

RB316
  steps:
    - for_each:
        in: [orders, stock]
-       as: env
+       as: name
        steps: [{id: settle, uses: wait, with: {for: 1s}}]

RB317
  steps:
-   - {id: back, uses: runbook, with: {runbook: rollback.yaml}}
+   - {id: back, uses: runbook, with: {runbook: part.yaml}}

RB401
  steps:
+   - {id: point, uses: load_restore_point}
    - {id: files, uses: restore_volume, with: {volume: uploads}}

RB402
  steps:
-   - {id: fetch, uses: command, retry: {attempts: 3}, with: {argv: [make, fetch]}}
+   - {id: fetch, uses: command, retry: {attempts: 3}, with: {argv: [make, fetch]}, rerun: safe}

RB403
  secrets: {key: {env: KEY}}
  steps:
-   - {id: call, uses: command, with: {argv: [call, '${{ secrets.key }}']}}
+   - {id: call, uses: command, with: {argv: [call], environment: {KEY: '${{ secrets.key }}'}}}

RB404
  inputs: {tag: {type: string}}
  steps:
    - id: say
      uses: command
-     with: {script: 'echo ${{ inputs.tag }}'}
+     with: {script: 'echo "$TAG"', environment: {TAG: '${{ inputs.tag }}'}}

RB405
  finally:
-   - {id: tidy, uses: command, with: {argv: [make, clean]}}
+   - {id: tidy, uses: command, rerun: safe, with: {argv: [make, clean]}}

RB406
  steps:
-   - {id: settle, uses: wait, rerun: ask, with: {for: 1s}}
+   - {id: settle, uses: wait, with: {for: 1s}}

RB407
- inputs: {data: {type: choice, choices: [keep, restore], default: kept}}
+ inputs: {data: {type: choice, choices: [keep, restore], default: keep}}
  steps:
    - {id: data, uses: set, with: {value: '${{ inputs.data }}'}}

RB408
- inputs: {otp: {type: string, sensitive: true, default: '1234'}}
+ inputs: {otp: {type: string, sensitive: true, env: OTP}}
+ steps:
+   - {id: log_in, uses: command, with: {argv: [log-in], environment: {OTP: '${{ inputs.otp }}'}}}

RB409
  for: rollback.yaml
  steps:
    - {id: look, uses: wait, with: {for: 1s}}
- on_failure: {runbook: rollback.yaml}

RB410
  steps:
    - {id: look, uses: wait, with: {for: 1s}}
- on_failure: {runbook: rollback.yaml, with: {dat: keep}}
+ on_failure: {runbook: rollback.yaml, with: {data: keep}}

RB414
  inputs: {count: {type: integer, default: 3}}
  steps:
-   - {id: enough, uses: assert, with: {that: "${{ inputs.count }}"}}
+   - {id: enough, uses: assert, with: {that: "${{ inputs.count > 0 }}"}}

RB451
  inputs: {tag: {type: string}}
+ steps:
+   - {id: keep, uses: set, with: {value: '${{ inputs.tag }}'}}

RB452
  steps:
-   - {id: settle, uses: wait, with: {for: 1s}, when: 1 == 2}
+   - {id: settle, uses: wait, with: {for: 1s}, when: env.protected}

RB453
  inputs: {data: {type: choice, choices: [keep, restore]}}
  steps:
-   - {id: settle, uses: wait, with: {for: 1s}, when: inputs.data == 'kept'}
+   - {id: settle, uses: wait, with: {for: 1s}, when: inputs.data == 'keep'}

RB454
  steps:
    - id: migrate
      uses: command
      with: {argv: [make, migrate], changes: db}
+     irreversible: only adds a column

"""


def examples() -> dict[str, str]:
    """By code, a piece of a runbook as a diff: `-` what is wrong, `+` what is right."""
    blocks = (block.partition("\n") for block in _DIFFS.strip().split("\n\n"))
    return {code: diff for code, _, diff in blocks}


def sides(diff: str) -> tuple[str, str]:
    """The wrong and the right piece of a diff."""
    lines = diff.splitlines()
    wrong, right = ([line[2:] for line in lines if line[0] in (mark, " ")] for mark in ("-", "+"))
    return "\n".join(wrong), "\n".join(right)
