from sqlmodel import Field, Relationship, SQLModel


class Enrolment(SQLModel, table=True):
    course_id: int = Field(foreign_key="course.id", primary_key=True, ondelete="CASCADE")
    student_id: int = Field(foreign_key="student.id", primary_key=True, ondelete="CASCADE")


class CourseBase(SQLModel):
    title: str = Field(min_length=1, max_length=120, unique=True)
    seats: int = Field(default=10, ge=1)


class Course(CourseBase, table=True):
    id: int | None = Field(default=None, primary_key=True)
    students: list["Student"] = Relationship(back_populates="courses", link_model=Enrolment)


class CoursePublic(CourseBase):
    id: int


class CourseUpdate(SQLModel):
    title: str | None = Field(default=None, min_length=1, max_length=120)
    seats: int | None = Field(default=None, ge=1)


class StudentBase(SQLModel):
    email: str = Field(max_length=255, unique=True, index=True)
    name: str = Field(max_length=120)


class Student(StudentBase, table=True):
    id: int | None = Field(default=None, primary_key=True)
    courses: list[Course] = Relationship(back_populates="students", link_model=Enrolment)


class StudentPublic(StudentBase):
    id: int


class CourseWithStudents(CoursePublic):
    students: list[StudentPublic]
