"""What the pages of the administration share: the site, lists that page by key, pages of one record, and how values look."""
