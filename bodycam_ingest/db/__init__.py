"""The database: schema, migrations, the ledger's rows and the states beside them."""
