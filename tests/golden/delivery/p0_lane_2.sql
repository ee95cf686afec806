CREATE TABLE decision("offset" INTEGER PRIMARY KEY, now INTEGER, event BLOB, deliveries BLOB, outputs BLOB, used BLOB,
                      done INTEGER, checksum INTEGER)
CREATE INDEX decision_open ON decision("offset") WHERE done = 0
CREATE TABLE mark(kind TEXT, scope TEXT, name TEXT, event_id TEXT, expires INTEGER,
                  PRIMARY KEY(kind, scope, name)) WITHOUT ROWID
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID
CREATE TABLE place(topic TEXT, partition INTEGER, next INTEGER, PRIMARY KEY(topic, partition)) WITHOUT ROWID
CREATE TABLE setting(user TEXT, topic TEXT, name TEXT, value BLOB, place INTEGER,
                     checksum INTEGER, PRIMARY KEY(user, topic, name)) WITHOUT ROWID
CREATE TABLE switch(scope TEXT, value TEXT, place INTEGER, PRIMARY KEY(scope, value)) WITHOUT ROWID
CREATE TABLE total(grp INTEGER PRIMARY KEY, resolved INTEGER, emitted INTEGER, inbox_items INTEGER,
                   fallbacks INTEGER, furthest INTEGER) WITHOUT ROWID
