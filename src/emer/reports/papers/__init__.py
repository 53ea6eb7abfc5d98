"""The papers' tables and figures as experiments: definitions, our numbers, verdicts on claims, README and ledger."""
