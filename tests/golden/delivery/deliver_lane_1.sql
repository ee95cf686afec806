CREATE TABLE mark(topic TEXT, source TEXT, grp INTEGER, "offset" INTEGER, ordinal INTEGER,
                  PRIMARY KEY(topic, source, grp)) WITHOUT ROWID
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID
CREATE TABLE place(topic TEXT, partition INTEGER, next INTEGER, open BLOB, PRIMARY KEY(topic, partition)) WITHOUT ROWID
CREATE TABLE sent(key BLOB PRIMARY KEY, until INTEGER) WITHOUT ROWID
CREATE TABLE shown(about BLOB, screen TEXT, until INTEGER, value BLOB, PRIMARY KEY(about, screen)) WITHOUT ROWID
CREATE TABLE total(grp INTEGER PRIMARY KEY, accepted INTEGER, fallbacks INTEGER) WITHOUT ROWID
