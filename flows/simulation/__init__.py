"""`carillon simulate`: the decision operators over a record file, under a virtual clock."""
